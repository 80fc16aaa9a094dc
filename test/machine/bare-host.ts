import { readFileSync } from 'node:fs'
import { buildCpuModel } from '../../src/isa/build-cpu-model.ts'
import type { CpuModel } from '../../src/isa/cpu-model.ts'
import { sapphireRapids as sapphireRapidsFacts } from '../../src/isa/cpu-models/SapphireRapids.ts'
import type { AddressSpace } from '../../src/machine/address-space.ts'
import type { EngineOptions } from '../../src/machine/code-cache.ts'
import { CTL, type ExecutionContext } from '../../src/machine/execution-context.ts'
import { Machine } from '../../src/machine/machine.ts'
import { PHYSICAL_BASE, SEGMENT } from '../../src/machine/memory-map.ts'

let decoder: WebAssembly.Module | undefined
export function icedModule(): WebAssembly.Module {
  decoder ??= new WebAssembly.Module(readFileSync(new URL('../../node_modules/iced-x86/iced_x86_bg.wasm', import.meta.url)))
  return decoder
}

let sapphireRapids: CpuModel | undefined
export const sapphireRapidsModel = (): CpuModel => (sapphireRapids ??= buildCpuModel(sapphireRapidsFacts))

/** Page-table entry bits. */
const P = 1
const RW = 2
const US = 4
const NX_HI = 0x80000000

interface PageFlags {
  present?: boolean
  write?: boolean
  user?: boolean
  noExecute?: boolean
  /** A shadow-stack page: not writable, dirty. */
  shadow?: boolean
}

/** A machine with one user-mode context in 64-bit mode and identity-mapped pages, without any kernel. */
export class BareHost {
  readonly machine: Machine
  readonly ctx: ExecutionContext
  readonly space: AddressSpace
  private nextTable = 0x100000

  constructor(options: { model?: CpuModel; engine?: EngineOptions; cpl?: 0 | 3; physicalBytes?: number } = {}) {
    this.machine = new Machine({
      model: options.model ?? sapphireRapidsModel(),
      decoder: icedModule(),
      physicalBytes: options.physicalBytes ?? 16 << 20,
      processors: 1,
      ...(options.engine ? { engine: options.engine } : {}),
    })
    this.ctx = this.machine.newContext()
    this.space = this.machine.newAddressSpace()
    const cpl = options.cpl ?? 3
    const { ctx } = this
    ctx.setCtl(CTL.CR3, this.newTable(), 0)
    ctx.setCtl(CTL.CR0, 0x80050033 | 0, 0)
    ctx.setCtl(CTL.CR4, 0x3506f0 | 0x40000, 0)
    ctx.setCtl(CTL.EFER, 0xd01, 0)
    ctx.setSegment(SEGMENT.CS, cpl === 3 ? 0x33 : 0x08, cpl === 3 ? 0xa0fb : 0xa09b, 0xffffffff, 0, 0)
    ctx.setSegment(SEGMENT.SS, cpl === 3 ? 0x2b : 0x10, cpl === 3 ? 0xc0f3 : 0xc093, 0xffffffff, 0, 0)
    this.machine.processors[0].setXcr0(this.machine.model.xcr0Supported)
  }

  private newTable(): number {
    const table = this.nextTable
    this.nextTable += 4096
    return table
  }

  /** Maps `pages` pages at linear `linear` (below 2^47) to physical `physical`. */
  map(linear: number, physical: number, pages: number, flags: PageFlags = {}): void {
    for (let i = 0; i < pages; i++) this.mapPage(linear + i * 4096, physical + i * 4096, flags)
    this.space.flush()
  }

  private mapPage(linear: number, physical: number, flags: PageFlags): void {
    const { view } = this.machine.mem
    let table = this.ctx.ctlLo(CTL.CR3)
    for (let level = 4; level > 1; level--) {
      const at = PHYSICAL_BASE + table + (Math.floor(linear / 2 ** (12 + 9 * (level - 1))) % 512) * 8
      let entry = view.getUint32(at, true)
      if ((entry & P) === 0) {
        entry = this.newTable() | P | RW | US
        view.setUint32(at, entry, true)
      }
      table = entry & ~0xfff
    }
    const at = PHYSICAL_BASE + table + (Math.floor(linear / 4096) % 512) * 8
    view.setUint32(
      at,
      physical |
        (flags.present === false ? 0 : P) |
        (flags.write === false || flags.shadow ? 0 : RW) |
        (flags.shadow ? 0x40 : 0) |
        (flags.user === false ? 0 : US),
      true,
    )
    view.setUint32(at + 4, flags.noExecute ? NX_HI : 0, true)
  }

  write(physical: number, bytes: ArrayLike<number>): void {
    this.machine.mem.u8.set(bytes, PHYSICAL_BASE + physical)
    this.machine.physicalWritten(physical, bytes.length)
  }
  read(physical: number, length: number): Uint8Array {
    return this.machine.mem.u8.slice(PHYSICAL_BASE + physical, PHYSICAL_BASE + physical + length)
  }

  /** Runs from RIP; returns HOST_EXIT_*. */
  run(budget = 1_000_000): number {
    return this.machine.processors[0].runHost(this.ctx, this.space, budget)
  }

  /** Code at 0x10000, data and stack at 0x20000..0x2ffff, all identity-mapped for the user. */
  static withCode(code: ArrayLike<number>, options: ConstructorParameters<typeof BareHost>[0] = {}): BareHost {
    const host = new BareHost(options)
    host.map(0x10000, 0x10000, 4)
    host.map(0x20000, 0x20000, 16)
    host.write(0x10000, code)
    host.ctx.rip = 0x10000n
    host.ctx.setReg(4, 0x2f000n)
    return host
  }
}
