import type { Recorder } from './accesses.ts'

/** Makes reads and writes of a property steps' accesses of a cell called `name.property`. The code that uses it is not changed. */
export function watch(recorder: Recorder, target: object, name: string, ...properties: readonly string[]): void {
  for (const property of properties) {
    if (!(property in target)) throw new Error(`${name} has no property ${property}`)
    const cell = recorder.cell(`${name}.${property}`)
    let value = (target as Record<string, unknown>)[property]
    Object.defineProperty(target, property, {
      enumerable: true,
      configurable: true,
      get: () => {
        recorder.read(cell)
        return value
      },
      set: (next: unknown) => {
        recorder.write(cell)
        value = next
      },
    })
  }
}
