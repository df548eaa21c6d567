problem = ValueError("text")
problem.add_note("a note")
problem.add_note("another\nof two lines")
raise problem
