"""Files for experiments: each stands alone, needs only the standard library, and may be copied."""
