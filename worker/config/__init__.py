"""What a sweep's ``search:`` section and the other YAML files may say."""
