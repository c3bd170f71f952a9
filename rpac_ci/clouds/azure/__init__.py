"""Azure: the only importer of azure.*, which comes with the extra `azure`."""
