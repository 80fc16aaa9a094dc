import { benchHost, bestRate } from './api-host.ts'

const XTILE_DATA = 18
const BATCH = 5_000

/** KVM_GET_XSAVE2 and KVM_SET_XSAVE of a vCPU with AMX enabled: 11008 bytes, tile data in use. */
export function xsavePerSecond(): { getXsave2: number; setXsave: number } {
  const process = benchHost().newProcess()
  process.archPrctl.reqXcompGuestPerm(XTILE_DATA)
  const vm = process.openKvm().createVm()
  const vcpu = vm.createVcpu()
  vcpu.setCpuid2(vm.kvm.getSupportedCpuid())
  vcpu.setXcr0(0x602e7n)
  const image = vcpu.getXsave2()
  image.xstateBv |= 1n << BigInt(XTILE_DATA)
  image.component(XTILE_DATA).fill(0x5a)
  vcpu.setXsave(image)
  const times = (action: () => void) => () => {
    for (let i = 0; i < BATCH; i++) action()
  }
  const getXsave2 = bestRate(
    BATCH,
    times(() => vcpu.getXsave2(image)),
  )
  if (image.component(XTILE_DATA)[8191] !== 0x5a) throw new Error('tile data got lost')
  return {
    getXsave2,
    setXsave: bestRate(
      BATCH,
      times(() => vcpu.setXsave(image)),
    ),
  }
}
