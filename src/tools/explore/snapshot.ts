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

  /** @param roots objects whose properties change; arrays, maps, sets and plain records in them are included */
  constructor(roots: Iterable<object>) {
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
  if (value instanceof Map) {
    const entries = [...value]
    return whenChanged(value, ['set', 'delete', 'clear'], () => {
      value.clear()
      for (const [key, content] of entries) value.set(key, content)
    })
  }
  if (value instanceof Set) {
    const values = [...value]
    return whenChanged(value, ['add', 'delete', 'clear'], () => {
      value.clear()
      for (const member of values) value.add(member)
    })
  }
  return null
}

function restoreArray(target: unknown[]): Restorer {
  const values = target.slice()
  return () => {
    if (target.length !== values.length) target.length = values.length
    for (let i = 0; i < values.length; i++) target[i] = values[i]
  }
}

/** Restores a map or set only if one of its changing methods was called since. */
function whenChanged(target: object, methods: readonly string[], restore: Restorer): Restorer {
  const record = target as Record<string, (...args: unknown[]) => unknown>
  let changed = false
  for (const name of methods) {
    const method = record[name]
    Object.defineProperty(target, name, {
      configurable: true,
      value: (...args: unknown[]) => {
        changed = true
        return method.apply(target, args)
      },
    })
  }
  return () => {
    if (!changed) return
    restore()
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
