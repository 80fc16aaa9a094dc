/** Entries of a table of the kernel; larger arrays are memory. */
const LARGEST_TABLE = 1 << 16

/** Puts one object, or one collection, back. */
type Restorer = () => void

/**
 * The state of chosen objects, to be put back again and again: their own data properties, and what arrays, maps and sets among
 * those hold. Objects are not copied: identity matters to the kernel.
 */
export class ObjectSnapshot {
  private readonly seen = new Set<object>()
  private readonly restorers: Restorer[] = []

  /**
   * @param roots objects whose properties change; arrays, maps, sets and plain records in them are included
   * @param facts plain records that nobody changes
   */
  constructor(roots: Iterable<object>, facts: Iterable<object> = []) {
    for (const fact of facts) this.seen.add(fact)
    for (const root of roots) this.add(root)
  }

  private add(target: object): void {
    if (this.seen.has(target)) return
    this.seen.add(target)
    const record = target as Record<string, unknown>
    const names = Object.keys(target).filter((name) => isWritable(target, name))
    if (names.length > 0) this.restorers.push(restoreProperties(record, names))
    for (const name of Object.keys(target)) this.addValue(record[name])
  }

  private addValue(value: unknown): void {
    if (typeof value !== 'object' || value === null || this.seen.has(value)) return
    if (isPlain(value)) {
      this.add(value)
      return
    }
    // Other objects are roots or not part of it.
    const restorer = restoreCollection(value)
    if (restorer === null) return
    this.seen.add(value)
    this.restorers.push(restorer)
  }

  restore(): void {
    const { restorers } = this
    for (let i = 0; i < restorers.length; i++) restorers[i]()
  }
}

/**
 * A function made for one object, with its properties' names in the code: several times faster than a loop over names, and putting
 * objects back was a fifth of a search. Where code cannot be made of text (a page's policy), the loop.
 */
function restoreProperties(target: Record<string, unknown>, names: readonly string[]): Restorer {
  const values = names.map((name) => target[name])
  const lines = names.map((name, i) => {
    const property = `target[${JSON.stringify(name)}]`
    return `if (${property} !== values[${i}]) ${property} = values[${i}]`
  })
  try {
    return new Function('target', 'values', `return () => {\n${lines.join('\n')}\n}`)(target, values) as Restorer
  } catch {
    return () => {
      for (let i = 0; i < names.length; i++) if (target[names[i]] !== values[i]) target[names[i]] = values[i]
    }
  }
}

/** Null for what is no collection. */
function restoreCollection(value: object): Restorer | null {
  if (Array.isArray(value)) return restoreArray(value)
  if (value instanceof Int32Array && value.length <= LARGEST_TABLE) {
    const values = value.slice()
    return () => value.set(values)
  }
  if (value instanceof Map) return restoreMap(value)
  if (value instanceof Set) return restoreSet(value)
  return null
}

function restoreArray(target: unknown[]): Restorer {
  const values = target.slice()
  return () => {
    if (target.length !== values.length) target.length = values.length
    for (let i = 0; i < values.length; i++) target[i] = values[i]
  }
}

/** A method of one collection, which from now on tells `before` of each call. */
function intercept<T extends object, K extends keyof T>(target: T, name: K, before: (argument: unknown) => void): void {
  const method = target[name] as (...args: unknown[]) => unknown
  const value = (first?: unknown, second?: unknown) => {
    before(first)
    return method.call(target, first, second)
  }
  Object.defineProperty(target, name, { configurable: true, value })
}

/** Only keys that were set since; after a deletion all, for their order. */
function restoreMap(target: Map<unknown, unknown>): Restorer {
  const values = new Map(target)
  const { set, delete: remove, clear } = target
  const keys: unknown[] = []
  let all = false
  intercept(target, 'set', (key) => keys.push(key))
  for (const name of ['delete', 'clear'] as const)
    intercept(target, name, () => {
      all = true
    })
  return () => {
    if (all) {
      clear.call(target)
      for (const [key, value] of values) set.call(target, key, value)
    } else
      for (const key of keys) {
        if (values.has(key)) set.call(target, key, values.get(key))
        else remove.call(target, key)
      }
    all = false
    keys.length = 0
  }
}

/** Only if it was changed since. */
function restoreSet(target: Set<unknown>): Restorer {
  const values = [...target]
  const { add, clear } = target
  let changed = false
  for (const name of ['add', 'delete', 'clear'] as const)
    intercept(target, name, () => {
      changed = true
    })
  return () => {
    if (!changed) return
    clear.call(target)
    for (const value of values) add.call(target, value)
    changed = false
  }
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}

function isWritable(target: object, name: string): boolean {
  const property = Object.getOwnPropertyDescriptor(target, name)!
  return property.set !== undefined || property.writable === true
}

/** Bytes of memory, to be put back. */
export class MemorySnapshot {
  private readonly memory: Uint8Array
  private readonly parts: { readonly at: number; readonly bytes: Uint8Array }[] = []

  constructor(memory: Uint8Array) {
    this.memory = memory
  }
  add(at: number, length: number): void {
    this.parts.push({ at, bytes: this.memory.slice(at, at + length) })
  }
  restore(): void {
    for (const { at, bytes } of this.parts) this.memory.set(bytes, at)
  }
}
