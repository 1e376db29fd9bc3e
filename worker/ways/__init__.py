"""Ways out of the program other than to Cronofy and to a mail server."""
