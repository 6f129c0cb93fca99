"""Operations on a classifier's head: fixed heads, realignment, sharing the body."""
