print("site" in __import__("sys").modules, exit, quit, copyright is not None, "_" in dir(__builtins__))
help("no_such_topic_at_all")
