"""What asks: the measuring client, libcurl, wrk, and the processes in client pods that they run in."""
