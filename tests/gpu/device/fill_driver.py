"""Fills the card by the driver itself."""
from driver import Driver, OutOfMemory
from filling import fill


class Block:
    def __init__(self, driver, size):
        self.driver, self.size = driver, size
        self.address = driver.allocate(size)

    def __del__(self):
        if hasattr(self, "address"):
            self.driver.free(self.address)


def main():
    driver = Driver()
    fill(lambda size: Block(driver, size), lambda error: isinstance(error, OutOfMemory),
         lambda: None, lambda blocks: sum(block.size for block in blocks))


main()
