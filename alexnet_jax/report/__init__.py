"""What a run's files and `inference` hold, as pictures and pages."""
