"""The paper's experiment as a chain of rows: train, judge, compare, one table. Joins training and evaluation."""
