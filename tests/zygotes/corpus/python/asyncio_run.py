import asyncio
import sys


async def speak(name, pause):
    await asyncio.sleep(pause)
    print(name)
    return name


async def main():
    print(await asyncio.gather(speak("second", 0.02), speak("first", 0.01)))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(6 * 7)", stdout=-1)
    print(await process.communicate())


asyncio.run(main())
