"""GitHub: its events, its API, the jobs of its Actions, and a repository made ready for them."""
