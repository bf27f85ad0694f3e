"""Load comparison of this server with others: run.py."""
