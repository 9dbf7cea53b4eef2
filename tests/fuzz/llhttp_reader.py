"""llhttp (the parser of Node.js and uvicorn), by httptools, as the second reader of HTTP/1.1."""

from http_readings import CLOSED, KEPT, OVER, REFUSED, SWITCHED, Fields, Message, Reading, message
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

_SWITCHING_PROTOCOLS = 101


class SecondReader:
    """Reads one connection's requests or responses; `reading` is the result so far.

    A `patient` one accepts what RFC 9112 §2.2 and §5.2 allow a recipient: lines that end in LF alone, folded fields;
    and blanks after a chunk's size. `hosts` is how many Host fields each message has. `forwarded` data comes from the
    proxy.
    """

    def __init__(self, *, requests: bool, patient: bool = False, forwarded: bool = False) -> None:
        self.reading = Reading()
        self.hosts: list[int] = []
        self._parser = (HttpRequestParser if requests else HttpResponseParser)(self)
        self._requests = requests
        self._forwarded = forwarded
        if patient:
            self._parser.set_dangerous_leniencies(
                lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
            )
        self._text = b""
        self._fields: Fields = []
        self._message: Message | None = None
        self._read = 0

    def feed(self, data: bytes, step: int = 0) -> None:
        """Read more, `step` bytes at a time: ends of messages are exact if that is 1."""
        try:
            for at in range(0, len(data), step or max(1, len(data))):
                piece = data[at : at + step] if step else data
                self._read += len(piece)
                self._parser.feed_data(piece)
                if self.reading.state in (OVER, REFUSED):
                    return
        except HttpParserUpgrade:
            return
        except HttpParserError as error:
            if self.reading.state != OVER:
                self.reading.state, self.reading.why = REFUSED, str(error)

    def on_message_begin(self) -> None:
        """Begin a new message."""
        self._text, self._fields, self._message = b"", [], None

    def on_url(self, text: bytes) -> None:
        """Take a piece of the target."""
        self._text += text

    on_status = on_url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field; also those of trailers, which are ignored later."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Note that the head is complete."""
        if self.reading.state == OVER:
            return
        parser = self._parser
        if self._requests:
            start, switches = (parser.get_method(), self._text), parser.should_upgrade()
        else:
            status = parser.get_status_code()
            start, switches = (b"%d" % status, self._text.strip(b" \t")), status == _SWITCHING_PROTOCOLS
        fate = SWITCHED if switches else KEPT if parser.should_keep_alive() else CLOSED
        self._message = message(start, self._fields, fate, request=self._requests, forwarded=self._forwarded)
        self.hosts.append(sum(name.lower() == b"host" for name, _ in self._fields))
        self.reading.messages.append(self._message)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._message is not None:
            self._message.body += data

    def on_message_complete(self) -> None:
        """Note the end, and whether another message may follow."""
        if self._message is not None:
            self._message.end = self._read
            if self._message.fate != KEPT:
                self.reading.state = OVER
        self._message = None


def read(data: bytes, *, requests: bool, patient: bool = False) -> Reading:
    """Return the reading of `data`, fed byte by byte."""
    reader = SecondReader(requests=requests, patient=patient)
    reader.feed(data, 1)
    return reader.reading
