/**
 * A test case's complete processor state, before or after, in the layout that native/recorder.c reads and writes, and the
 * address space a case sees:
 *
 *   WINDOW           8 KiB read-write data
 *   WINDOW + 8192    4 KiB read-only data; unmapped after it, and below WINDOW
 *   CODE             read-execute, filled with INT3; the case's code is at CODE + CODE_OFFSET
 */
export const WINDOW = 0x10000000
export const CODE = 0x10010000
export const CODE_OFFSET = 0x100
export const GS_BASE = 0x10000080
export const RSP_START = WINDOW + 0x800

export const RECORD_BYTES = 14800
const MODE = 0
const CODE_BYTES = 4
const VECTOR = 8
const ERROR = 12
const FAULT_ADDRESS = 16
const RIP = 24
const RFLAGS = 32
const MXCSR = 40
const GPR = 48
const CODE_AT = 176
const OPMASK = 240
const X87 = 304
const ZMM = 464
const MEMORY = 2512
export const MEMORY_BYTES = 12288
export const X87_BYTES = 160

/** Trap that ends a case which does not fault. */
export const VECTOR_BP = 3

export class CaseRecord {
  readonly bytes: Uint8Array
  private readonly view: DataView

  constructor(bytes: Uint8Array = new Uint8Array(RECORD_BYTES)) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, RECORD_BYTES)
  }
  copy(): CaseRecord {
    return new CaseRecord(this.bytes.slice())
  }

  /** 64, or 32 for compatibility mode. */
  get mode(): number {
    return this.view.getUint32(MODE, true)
  }
  set mode(v: number) {
    this.view.setUint32(MODE, v, true)
  }
  get code(): Uint8Array {
    return this.bytes.subarray(CODE_AT, CODE_AT + this.view.getUint32(CODE_BYTES, true))
  }
  set code(code: Uint8Array) {
    this.view.setUint32(CODE_BYTES, code.length, true)
    this.bytes.fill(0, CODE_AT, CODE_AT + 64)
    this.bytes.set(code, CODE_AT)
  }
  /** Vector that ended the case, its error code, CR2 of a #PF. */
  get vector(): number {
    return this.view.getUint32(VECTOR, true)
  }
  set vector(v: number) {
    this.view.setUint32(VECTOR, v, true)
  }
  get error(): number {
    return this.view.getUint32(ERROR, true)
  }
  set error(v: number) {
    this.view.setUint32(ERROR, v, true)
  }
  get faultAddress(): bigint {
    return this.view.getBigUint64(FAULT_ADDRESS, true)
  }
  set faultAddress(v: bigint) {
    this.view.setBigUint64(FAULT_ADDRESS, v, true)
  }
  get rip(): bigint {
    return this.view.getBigUint64(RIP, true)
  }
  set rip(v: bigint) {
    this.view.setBigUint64(RIP, v, true)
  }
  get rflags(): number {
    return this.view.getUint32(RFLAGS, true)
  }
  set rflags(v: number) {
    this.view.setUint32(RFLAGS, v, true)
    this.view.setUint32(RFLAGS + 4, 0, true)
  }
  get mxcsr(): number {
    return this.view.getUint32(MXCSR, true)
  }
  set mxcsr(v: number) {
    this.view.setUint32(MXCSR, v, true)
  }
  gpr(n: number): bigint {
    return this.view.getBigUint64(GPR + n * 8, true)
  }
  setGpr(n: number, v: bigint): void {
    this.view.setBigUint64(GPR + n * 8, v, true)
  }
  opmask(n: number): bigint {
    return this.view.getBigUint64(OPMASK + n * 8, true)
  }
  setOpmask(n: number, v: bigint): void {
    this.view.setBigUint64(OPMASK + n * 8, v, true)
  }
  /** The first 160 bytes of an FXSAVE image without MXCSR and XMM: FCW FSW FTW FOP FIP FDP, ST0..7. */
  get x87(): Uint8Array {
    return this.bytes.subarray(X87, X87 + X87_BYTES)
  }
  /** All 64 bytes of vector register n. */
  zmm(n: number): Uint8Array {
    return this.bytes.subarray(ZMM + n * 64, ZMM + n * 64 + 64)
  }
  /** The three pages from WINDOW. */
  get memory(): Uint8Array {
    return this.bytes.subarray(MEMORY, MEMORY + MEMORY_BYTES)
  }
}

export const toHex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')
export const fromHex = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
