"""What a codec does, shown to a person: the pages of `explore`, and the demo with its two processes."""
