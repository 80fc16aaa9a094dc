import { PHYSICAL_BASE } from './memory-map.ts'

const WASM_PAGE = 65536

/**
 * The machine's one `WebAssembly.Memory` and the views TypeScript uses on it. It is allocated at its final size, so the
 * views stay valid; the operating system commits its pages when they are first touched.
 */
export class MachineMemory {
  readonly wasm: WebAssembly.Memory
  readonly buffer: ArrayBuffer
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly i32: Int32Array
  readonly u32: Uint32Array
  readonly f64: Float64Array
  readonly view: DataView
  /** Bytes of modelled physical memory. */
  readonly physicalBytes: number

  /** @param physicalBytes size of RAM, a multiple of 64 KiB, at most 4 GiB - 32 MiB. RangeError when it cannot be had. */
  constructor(physicalBytes: number) {
    const pages = (PHYSICAL_BASE + physicalBytes) / WASM_PAGE
    if (!Number.isInteger(pages) || pages > 65536)
      throw new RangeError(`physical memory of ${physicalBytes} bytes: at most 4 GiB - 32 MiB, in 64 KiB steps`)
    this.wasm = new WebAssembly.Memory({ initial: pages, maximum: pages })
    this.buffer = this.wasm.buffer
    this.u8 = new Uint8Array(this.buffer)
    this.u16 = new Uint16Array(this.buffer)
    this.i32 = new Int32Array(this.buffer)
    this.u32 = new Uint32Array(this.buffer)
    this.f64 = new Float64Array(this.buffer)
    this.view = new DataView(this.buffer)
    this.physicalBytes = physicalBytes
  }

  /** Unaligned 64-bit access at a wasm offset, for edges. */
  u64At(offset: number): bigint {
    return this.view.getBigUint64(offset, true)
  }
  setU64At(offset: number, value: bigint): void {
    this.view.setBigUint64(offset, value & 0xffff_ffff_ffff_ffffn, true)
  }
}
