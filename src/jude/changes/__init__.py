"""Change events come in from recorded files or Kafka; decoded changes with a position and an error each go out."""
