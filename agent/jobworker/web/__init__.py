"""The page in the browser: its files, and the answers to requests for them."""
