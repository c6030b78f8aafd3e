"""How fast, and is it really faster?"""
