const { AsyncLocalStorage, executionAsyncId, triggerAsyncId } = require("async_hooks");
const storage = new AsyncLocalStorage();
console.log(executionAsyncId(), triggerAsyncId());
storage.run({ id: 1 }, () => setTimeout(() => console.log(storage.getStore(), executionAsyncId() > 1), 1));
