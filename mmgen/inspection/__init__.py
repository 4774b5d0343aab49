"""Looking inside: views of what a model does with a question, for reports and for `mmgen inspect`."""
