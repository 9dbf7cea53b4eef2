"""What every room uses: event loop and timers, system calls, framing, privileges, and errors that end a lab."""
