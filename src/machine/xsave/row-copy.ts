/**
 * Moves and tests rows of 16-byte vectors at the speed of the machine: a WebAssembly module of four functions, written here
 * instruction by instruction. A typed-array loop takes about six times as long, and `copyWithin` costs a call for each row.
 */
export interface RowCopy {
  /** Copies `rows` rows of `bytes` bytes (a multiple of 16, at least 16); the strides are from row to row. */
  copy(dst: number, src: number, rows: number, bytes: number, dstStride: number, srcStride: number): void
  /** Fills with zeros. */
  zero(dst: number, rows: number, bytes: number, stride: number): void
  /** 1 if any bit of the rows is set. */
  anySet(src: number, rows: number, bytes: number, stride: number): number
  /** 1 if any bit of `bytes` bytes (a multiple of 64, at least 64) is set. */
  anySetLong(src: number, bytes: number): number
}

// ---- the instructions used, WebAssembly core specification §5.4 ----
const I32 = 0x7f
const VOID = 0x40
const LOOP = [0x03, VOID]
const IF = [0x04, VOID]
const END = [0x0b]
const RETURN = [0x0f]
const ADD = [0x6a]
const SUB = [0x6b]
const LT_U = [0x49]
const OR_V128 = [0xfd, 0x50]
const ANY_TRUE = [0xfd, 0x53]
const ZERO_V128 = [0xfd, 0x0c, ...new Array<number>(16).fill(0)]
const brIf = (depth: number): number[] => [0x0d, depth]
const get = (local: number): number[] => [0x20, local]
const set = (local: number): number[] => [0x21, local]
const tee = (local: number): number[] => [0x22, local]
const i32 = (value: number): number[] => [0x41, ...signedLeb(value)]
const load = (offset: number): number[] => [0xfd, 0x00, 0x00, offset]
const store = [0xfd, 0x0b, 0x00, 0x00]

function leb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)]
}
function signedLeb(value: number): number[] {
  return value >= -64 && value < 64 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signedLeb(value >> 7)]
}

interface Body {
  name: keyof RowCopy
  parameters: number
  result: boolean
  /** May use one more local after the parameters, an i32. */
  code: number[]
}

const seq = (...parts: number[][]): number[] => parts.flat()
const step = (local: number, by: number): number[] => seq(get(local), get(by), ADD, set(local))
const at = (base: number, i: number): number[] => seq(get(base), get(i), ADD)
const RETURN_1_IF_SET = seq(ANY_TRUE, IF, i32(1), RETURN, END)

/** do { i = 0; do { inner; i += 16 } while (i < bytes); advance; rows -= 1 } while (rows) */
function rowLoop(rows: number, bytes: number, i: number, inner: number[], advance: number[]): number[] {
  // biome-ignore format: one line per line of the loop
  return seq(
    LOOP, i32(0), set(i),
    LOOP, inner, get(i), i32(16), ADD, tee(i), get(bytes), LT_U, brIf(0), END,
    advance, get(rows), i32(1), SUB, tee(rows), brIf(0), END,
  )
}

// biome-ignore format: grouped by step
const BODIES: Body[] = [
  { name: 'copy', parameters: 6, result: false,
    code: rowLoop(2, 3, 6, seq(at(0, 6), at(1, 6), load(0), store), seq(step(0, 4), step(1, 5))) },
  { name: 'zero', parameters: 4, result: false,
    code: rowLoop(1, 2, 4, seq(at(0, 4), ZERO_V128, store), step(0, 3)) },
  { name: 'anySet', parameters: 4, result: true,
    code: seq(rowLoop(1, 2, 4, seq(at(0, 4), load(0), RETURN_1_IF_SET), step(0, 3)), i32(0)) },
  { name: 'anySetLong', parameters: 2, result: true,
    code: seq(
      LOOP,
      get(0), load(0), get(0), load(16), OR_V128, get(0), load(32), OR_V128, get(0), load(48), OR_V128,
      RETURN_1_IF_SET,
      get(0), i32(64), ADD, set(0), get(1), i32(64), SUB, tee(1), brIf(0),
      END,
      i32(0),
    ) },
]

const section = (id: number, content: number[]): number[] => [id, ...leb(content.length), ...content]
const vector = (items: number[][]): number[] => [...leb(items.length), ...items.flat()]
const text = (s: string): number[] => vector([...s].map((c) => [c.charCodeAt(0)]))

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const types = BODIES.map((b) => [0x60, ...vector(new Array(b.parameters).fill([I32])), ...vector(b.result ? [[I32]] : [])])
  const codes = BODIES.map((b) => {
    const body = [...vector([[1, I32]]), ...b.code, ...END]
    return [...leb(body.length), ...body]
  })
  // biome-ignore format: one section per line
  return new Uint8Array([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, vector(types)),
    ...section(2, vector([[...text('m'), ...text('m'), 0x02, 0x00, 1]])),
    ...section(3, vector(BODIES.map((_, i) => [i]))),
    ...section(7, vector(BODIES.map((b, i) => [...text(b.name), 0x00, i]))),
    ...section(10, vector(codes)),
  ])
}

let compiled: WebAssembly.Module | undefined
const instances = new WeakMap<WebAssembly.Memory, RowCopy>()

/** The functions over one memory; made once for each memory. */
export function rowCopy(memory: WebAssembly.Memory): RowCopy {
  let instance = instances.get(memory)
  if (instance === undefined) {
    compiled ??= new WebAssembly.Module(moduleBytes())
    instance = new WebAssembly.Instance(compiled, { m: { m: memory } }).exports as unknown as RowCopy
    instances.set(memory, instance)
  }
  return instance
}
