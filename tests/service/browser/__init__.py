"""The pages in a real Chromium: `make test-browser`. Files are named ``check_``: `make test` needs no browser."""
