"""Do the answers agree?"""
