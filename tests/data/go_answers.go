// Asks servers of canned bytes as the kubelet would, and prints what comes of it: see tests/lab/go_answers.py.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

type answer struct {
	Name string
	Data []byte
	Held bool
}

func ask(url string) string {
	client := &http.Client{
		Timeout:   500 * time.Millisecond,
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, Proxy: nil},
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if request.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= 10 {
				return errors.New("stopped after 10 redirects")
			}
			return nil
		},
	}
	response, err := client.Get(url)
	if err != nil {
		return "fails before the answer"
	}
	defer response.Body.Close()
	limited := &io.LimitedReader{R: response.Body, N: 10 << 10}
	if _, err := io.ReadAll(limited); err != nil && limited.N > 0 {
		return "fails in the body"
	}
	return fmt.Sprint(response.StatusCode)
}

func serve(listening net.Listener, each answer) {
	for {
		connection, err := listening.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			reader := bufio.NewReader(connection)
			for line := " "; line != "\r\n" && line != ""; {
				line, _ = reader.ReadString('\n')
			}
			connection.Write(each.Data)
			if each.Held {
				time.Sleep(time.Second)
			}
		}()
	}
}

func main() {
	var answers []answer
	if err := json.NewDecoder(os.Stdin).Decode(&answers); err != nil {
		panic(err)
	}
	verdicts := map[string]string{}
	for _, each := range answers {
		listening, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		go serve(listening, each)
		verdicts[each.Name] = ask("http://" + listening.Addr().String() + "/")
		listening.Close()
	}
	json.NewEncoder(os.Stdout).Encode(verdicts)
}
