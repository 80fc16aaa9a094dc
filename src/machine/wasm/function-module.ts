import { CodeBuffer } from './code.ts'
import { I32, W, type WasmType } from './opcodes.ts'

/** A function of i32 parameters, written instruction by instruction. */
export interface WasmFunction {
  readonly name: string
  readonly parameters: number
  /** Whether it returns an i32. */
  readonly result: boolean
  /** Types of the locals after the parameters. */
  readonly locals: readonly WasmType[]
  readonly code: readonly number[]
}

// ---- instructions as bytes ------------------------------------------------------------------------------------------

export const seq = (...parts: readonly (readonly number[])[]): number[] => parts.flat()
/** An instruction without immediates, from W or V. */
export const op = (opcode: number): number[] => (opcode < 0x100 ? [opcode] : [0xfd, ...leb(opcode & 0xff)])
export const get = (local: number): number[] => [W.local_get, ...leb(local)]
export const set = (local: number): number[] => [W.local_set, ...leb(local)]
export const tee = (local: number): number[] => [W.local_tee, ...leb(local)]
export const i32 = (value: number): number[] => [W.i32_const, ...signedLeb(value)]
/** A load or store from W or V at a constant offset; no alignment is promised. */
export const memory = (opcode: number, offset = 0): number[] => [...op(opcode), 0, ...leb(offset)]
export const v128 = (bytes: readonly number[]): number[] => [0xfd, 0x0c, ...bytes]
/** i8x16.shuffle of the two vectors on the stack. */
export const shuffle = (lanes: readonly number[]): number[] => [0xfd, 0x0d, ...lanes]
export const brIf = (depth: number): number[] => [W.br_if, depth]
/** A block, loop or if without a result. */
export const structure = (opcode: number, ...body: readonly (readonly number[])[]): number[] => [
  opcode,
  0x40,
  ...body.flat(),
  W.end,
]
export const add = (local: number, ...amount: readonly (readonly number[])[]): number[] =>
  seq(get(local), ...amount, op(W.i32_add), set(local))

/** do { body; counter -= 1 } while (counter); `counter` is not 0. */
export const countdown = (counter: number, ...body: readonly (readonly number[])[]): number[] =>
  structure(W.loop, ...body, get(counter), i32(1), op(W.i32_sub), tee(counter), brIf(0))

function leb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)]
}
function signedLeb(value: number): number[] {
  return value >= -64 && value < 64 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signedLeb(value >> 7)]
}

// ---- the module -----------------------------------------------------------------------------------------------------

const vector = (items: readonly (readonly number[])[]): number[] => [...leb(items.length), ...items.flat()]
const text = (s: string): number[] => vector([...s].map((c) => [c.charCodeAt(0)]))

/** A module of these functions, exported by name, over the memory imported as m.memory. */
export function functionModule(functions: readonly WasmFunction[]): Uint8Array<ArrayBuffer> {
  const types = functions.map((f) => [0x60, ...vector(new Array(f.parameters).fill([I32])), ...vector(f.result ? [[I32]] : [])])
  const codes = functions.map((f) => {
    const body = [...vector(f.locals.map((type) => [1, type])), ...f.code, W.end]
    return [...leb(body.length), ...body]
  })
  const out = new CodeBuffer()
  for (const byte of [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.byte(byte)
  const section = (id: number, content: readonly number[]): void => {
    out.byte(id)
    out.u32(content.length)
    out.append(Uint8Array.from(content))
  }
  section(1, vector(types))
  section(2, vector([[...text('m'), ...text('memory'), 0x02, 0x00, 1]]))
  section(3, vector(functions.map((_, i) => leb(i))))
  section(7, vector(functions.map((f, i) => [...text(f.name), 0x00, ...leb(i)])))
  section(10, vector(codes))
  return out.bytes.slice(0, out.length)
}

/** What turns a memory into an instance of the functions: compiled once, instantiated once for each memory. */
export function overMemory<T>(functions: () => readonly WasmFunction[]): (memory: WebAssembly.Memory) => T {
  let compiled: WebAssembly.Module | undefined
  const instances = new WeakMap<WebAssembly.Memory, T>()
  return (wasm) => {
    let instance = instances.get(wasm)
    if (instance === undefined) {
      compiled ??= new WebAssembly.Module(functionModule(functions()))
      instance = new WebAssembly.Instance(compiled, { m: { memory: wasm } }).exports as unknown as T
      instances.set(wasm, instance)
    }
    return instance
  }
}
