// Values kept by the browser; in memory, until the page is left, where its settings forbid site data or have no room.

function opened(name) {
  try {
    return globalThis[name] ?? null;
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
    return null;
  }
}

// Keep values in a storage of the browser, "localStorage" or "sessionStorage".
export function keptIn(name) {
  const storage = opened(name);
  const memory = new Map();
  return {
    lasts: storage !== null, // beyond this page
    get: (key) => memory.get(key) ?? storage?.getItem(key) ?? "",
    set(key, value) {
      memory.delete(key);
      if (!value) return storage?.removeItem(key);
      try {
        if (storage) return storage.setItem(key, value);
      } catch (error) {
        if (error.name !== "QuotaExceededError") throw error;
        storage.removeItem(key);
      }
      memory.set(key, value);
    },
  };
}
