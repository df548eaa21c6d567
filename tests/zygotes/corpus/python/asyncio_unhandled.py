import asyncio


async def fail():
    raise ValueError("nobody waits")


async def main():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    never = fail()
    await asyncio.sleep(0)


asyncio.run(main())
