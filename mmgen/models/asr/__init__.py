"""Speech to text: a recogniser of characters, trained with connectionist temporal classification."""
