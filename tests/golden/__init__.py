"""Files written once, which every later version has to decode."""
