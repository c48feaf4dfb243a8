def seed(place):
    pass
