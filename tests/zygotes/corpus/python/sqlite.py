import sqlite3

database = sqlite3.connect(":memory:")
database.execute("create table t (n)")
database.executemany("insert into t values (?)", [(1,), (2,)])
print(database.execute("select sum(n) from t").fetchone())
