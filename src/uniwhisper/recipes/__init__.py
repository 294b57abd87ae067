"""Shipped training recipes: functions that return a frozen `Recipe`."""
