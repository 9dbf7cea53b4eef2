"""Control a lab from outside: start, find, enter, query and stop it."""
