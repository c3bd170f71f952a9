"""AWS: the only importer of boto3, which comes with the extra `aws`."""
