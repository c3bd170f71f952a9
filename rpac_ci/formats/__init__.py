"""What people read of a run: the report and its timeline. Pure; equal records give equal files."""
