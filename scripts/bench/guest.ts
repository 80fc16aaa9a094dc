import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Host, type VcpuFd } from '../../src/index.ts'

export const XTILE_DATA = 18

/** Measured in windows of wall time, the fastest of which counts: other work on the machine only ever slows it down. */
const WINDOWS = 6
const WINDOW_MS = 500

/** How often a second `call` does what it does `times` times a call. */
export function perSecond(times: number, call: () => void): number {
  const window = () => {
    const started = performance.now()
    let calls = 0
    let elapsed = 0
    for (; elapsed < WINDOW_MS; elapsed = performance.now() - started, calls++) call()
    return (calls * times * 1000) / elapsed
  }
  return Math.max(...Array.from({ length: WINDOWS }, window))
}

const CODE_AT = 0x4000
const PAGE_TABLES = { pml4: 0x1000, pdpt: 0x2000, pd: 0x3000 }

/** A vCPU of Sapphire Rapids, with or without AMX in its CPUID, in 64-bit mode before the first byte of `code`. */
export function startGuest(code: readonly number[], amx: boolean): VcpuFd {
  const decoder = new WebAssembly.Module(readFileSync(createRequire(import.meta.url).resolve('iced-x86/iced_x86_bg.wasm')))
  const process = new Host({ cpu: 'SapphireRapids', decoder }).newProcess()
  if (amx) process.archPrctl.reqXcompGuestPerm(XTILE_DATA)
  const kvm = process.openKvm()
  const vm = kvm.createVm()
  const memory = process.allocate(0x10000)
  const quadword = (value: number) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer)
  memory.write(PAGE_TABLES.pml4, quadword(PAGE_TABLES.pdpt | 3))
  memory.write(PAGE_TABLES.pdpt, quadword(PAGE_TABLES.pd | 3))
  memory.write(PAGE_TABLES.pd, quadword(0x83))
  memory.write(CODE_AT, Uint8Array.from(code))
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })

  const vcpu = vm.createVcpu()
  vcpu.setCpuid2(kvm.getSupportedCpuid())
  const segment = { base: 0n, limit: 0xffffffff, present: 1, dpl: 0, s: 1, g: 1, avl: 0, unusable: 0 }
  const cs = { ...segment, selector: 0x08, type: 11, db: 0, l: 1 }
  const ds = { ...segment, selector: 0x10, type: 3, db: 1, l: 0 }
  const long = { cr0: 0x80000011n, cr3: BigInt(PAGE_TABLES.pml4), cr4: 0x20n, efer: 0x500n }
  vcpu.setSregs({ ...vcpu.getSregs(), cs, ds, es: ds, ss: ds, ...long })
  vcpu.setRegs({ ...vcpu.getRegs(), rip: BigInt(CODE_AT), rflags: 2n })
  return vcpu
}
