"""Operations: the only importers of mlflow, boto3, dvc and great_expectations."""
