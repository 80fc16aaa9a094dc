import { benchHost, bestRate } from './api-host.ts'

/** `mov $0xe9, %dx; mov $'a', %al; 1: out %al, %dx; jmp 1b` in real mode. */
const LOOP = Uint8Array.of(0xba, 0xe9, 0x00, 0xb0, 0x61, 0xee, 0xeb, 0xfd)
const BATCH = 20_000

/** KVM_RUN with a port write a round, as a VMM in TypeScript sees them: the value of each is read. */
export function exitsPerSecond(): number {
  const process = benchHost().newProcess()
  const vm = process.openKvm().createVm()
  const memory = process.allocate(0x10000)
  memory.write(0, LOOP)
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  const vcpu = vm.createVcpu()
  vcpu.setCpuid2(vm.kvm.getSupportedCpuid())
  const sregs = vcpu.getSregs()
  sregs.cs.base = 0n
  sregs.cs.selector = 0
  vcpu.setSregs(sregs)
  vcpu.setRegs({ ...vcpu.getRegs(), rip: 0n })
  return bestRate(BATCH, () => {
    for (let i = 0; i < BATCH; i++) {
      const exit = vcpu.run()
      if (exit.reason !== 'io' || exit.value !== 0x61) throw new Error(`unexpected exit ${exit.reason}`)
    }
  })
}
