"""Programs that wait to be used against the same programs started fresh."""
