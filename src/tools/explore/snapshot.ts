/** Entries of a table of the kernel; larger arrays are memory. */
const LARGEST_TABLE = 1 << 16

type Saved = readonly [target: Record<string, unknown>, names: readonly string[], values: readonly unknown[]]

/**
 * The state of chosen objects, to be put back again and again: their own data properties, and what arrays, maps and sets among
 * those hold. Objects are not copied: identity matters to the kernel.
 */
export class ObjectSnapshot {
  private readonly objects: Saved[] = []
  private readonly arrays: { readonly target: unknown[]; readonly values: readonly unknown[] }[] = []
  private readonly maps: {
    readonly target: Map<unknown, unknown>
    readonly entries: readonly (readonly [unknown, unknown])[]
  }[] = []
  private readonly typed: { readonly target: Int32Array; readonly values: Int32Array }[] = []
  private readonly sets: { readonly target: Set<unknown>; readonly values: readonly unknown[] }[] = []

  /** @param roots objects whose properties change; arrays, maps, sets and plain records in them are included */
  constructor(roots: Iterable<object>) {
    for (const root of roots) this.add(root)
  }

  private add(target: object): void {
    const record = target as Record<string, unknown>
    const names = Object.keys(target).filter((name) => isWritable(target, name))
    const values = names.map((name) => record[name])
    this.objects.push([record, names, values])
    for (const name of Object.keys(target)) this.contents(record[name])
  }

  private contents(value: unknown): void {
    if (Array.isArray(value)) this.arrays.push({ target: value, values: value.slice() })
    else if (value instanceof Int32Array && value.length <= LARGEST_TABLE)
      this.typed.push({ target: value, values: value.slice() })
    else if (value instanceof Map) this.maps.push({ target: value, entries: [...value] })
    else if (value instanceof Set) this.sets.push({ target: value, values: [...value] })
    else if (isPlain(value)) this.add(value)
  }

  restore(): void {
    for (const [target, names, values] of this.objects) {
      for (let i = 0; i < names.length; i++) if (target[names[i]] !== values[i]) target[names[i]] = values[i]
    }
    for (const { target, values } of this.arrays) {
      if (target.length !== values.length) target.length = values.length
      for (let i = 0; i < values.length; i++) target[i] = values[i]
    }
    for (const { target, values } of this.typed) target.set(values)
    for (const { target, entries } of this.maps) {
      if (target.size !== entries.length) target.clear()
      for (const [key, value] of entries) if (target.get(key) !== value) target.set(key, value)
    }
    for (const { target, values } of this.sets) {
      if (target.size === values.length && values.every((value) => target.has(value))) continue
      target.clear()
      for (const value of values) target.add(value)
    }
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
