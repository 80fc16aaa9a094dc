// How often a second the typed API does what a VMM does most. One process of its own; prints one JSON object.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Host, type VcpuFd } from '../../src/index.ts'

const XTILE_DATA = 18

/** Measured in windows of wall time, the fastest of which counts: other work on the machine only ever slows it down. */
const WINDOWS = 6
const WINDOW_MS = 500

/** 1: out %al, $0x10; inc %eax; jmp 1b */
const GUEST_CODE = [0xe6, 0x10, 0xff, 0xc0, 0xeb, 0xfa]
const PORT = 0x10
const CODE_AT = 0x4000
const PAGE_TABLES = { pml4: 0x1000, pdpt: 0x2000, pd: 0x3000 }

/** A vCPU with AMX in its CPUID, in 64-bit mode, before the first instruction of GUEST_CODE. */
function startGuest(): VcpuFd {
  const decoder = new WebAssembly.Module(readFileSync(createRequire(import.meta.url).resolve('iced-x86/iced_x86_bg.wasm')))
  const process = new Host({ cpu: 'SapphireRapids', decoder }).newProcess()
  process.archPrctl.reqXcompGuestPerm(XTILE_DATA)
  const kvm = process.openKvm()
  const vm = kvm.createVm()
  const memory = process.allocate(0x10000)
  const quadword = (value: number) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer)
  memory.write(PAGE_TABLES.pml4, quadword(PAGE_TABLES.pdpt | 3))
  memory.write(PAGE_TABLES.pdpt, quadword(PAGE_TABLES.pd | 3))
  memory.write(PAGE_TABLES.pd, quadword(0x83))
  memory.write(CODE_AT, Uint8Array.from(GUEST_CODE))
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

/** How often a second `call` does what it does `times` times a call. */
function perSecond(times: number, call: () => void): number {
  const window = () => {
    const started = performance.now()
    let calls = 0
    let elapsed = 0
    for (; elapsed < WINDOW_MS; elapsed = performance.now() - started, calls++) call()
    return (calls * times * 1000) / elapsed
  }
  return Math.max(...Array.from({ length: WINDOWS }, window))
}

const vcpu = startGuest()
let written = 0
const exits = perSecond(1000, () => {
  for (let i = 0; i < 1000; i++) {
    const exit = vcpu.run()
    if (exit.reason !== 'io' || exit.port !== PORT || exit.value !== (written++ & 0xff))
      throw new Error(`unexpected exit ${exit.reason}`)
  }
})
const image = vcpu.getXsave2()
const getXsave2 = perSecond(100, () => {
  for (let i = 0; i < 100; i++) vcpu.getXsave2(image)
})
const setXsave = perSecond(100, () => {
  for (let i = 0; i < 100; i++) vcpu.setXsave(image)
})
process.stdout.write(`${JSON.stringify({ exits, getXsave2, setXsave, imageBytes: image.bytes.length })}\n`)
