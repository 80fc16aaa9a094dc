import { EINVAL, ENXIO } from '../../linux/errno.ts'
import { decode, encode, type ValueOf } from '../abi/struct-layout.ts'
import { kvm_ioapic_state, type kvm_irqchip, kvm_pic_state } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import type { Vm } from '../vm.ts'
import { IOAPIC_PINS } from './ioapic.ts'
import { KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER } from './routing.ts'

type Irqchip = ValueOf<typeof kvm_irqchip>

function refusal(vm: Vm, chip: Irqchip, call: IoctlCall): number {
  if (vm.irqchipMode !== 'kernel') return call.refuse(ENXIO, 'KAPI-60', 'the PICs and the IOAPIC are not in the kernel')
  return chip.chip_id > KVM_IRQCHIP_IOAPIC ? call.refuse(EINVAL, 'KAPI-60', `no chip ${chip.chip_id}`) : 0
}

/** KVM_GET_IRQCHIP. */
export function readIrqchip(vm: Vm, value: Irqchip, call: IoctlCall): number {
  const refused = refusal(vm, value, call)
  if (refused !== 0) return refused
  const view = new DataView(value.chip.buffer, value.chip.byteOffset, value.chip.byteLength)
  value.chip.fill(0)
  if (value.chip_id !== KVM_IRQCHIP_IOAPIC) {
    const pic = vm.pic!
    encode(kvm_pic_state, (value.chip_id === KVM_IRQCHIP_PIC_MASTER ? pic.master : pic.slave).state, view)
    return 0
  }
  const ioapic = vm.ioapic!
  const redirtbl = Array.from({ length: IOAPIC_PINS }, (_, pin) => (BigInt(ioapic.hi[pin]) << 32n) | BigInt(ioapic.lo[pin]))
  encode(
    kvm_ioapic_state,
    { base_address: BigInt(ioapic.base), ioregsel: ioapic.select, id: ioapic.id, irr: ioapic.irr >>> 0, redirtbl },
    view,
  )
  return 0
}

/** KVM_SET_IRQCHIP. */
export function writeIrqchip(vm: Vm, value: Irqchip, call: IoctlCall): number {
  const refused = refusal(vm, value, call)
  if (refused !== 0) return refused
  const view = new DataView(value.chip.buffer, value.chip.byteOffset, value.chip.byteLength)
  if (value.chip_id !== KVM_IRQCHIP_IOAPIC) {
    const pic = vm.pic!
    const chip = value.chip_id === KVM_IRQCHIP_PIC_MASTER ? pic.master : pic.slave
    chip.state = decode(kvm_pic_state, view)
    pic.stateReplaced()
    return 0
  }
  const ioapic = vm.ioapic!
  const state = decode(kvm_ioapic_state, view)
  ioapic.base = Number(state.base_address)
  ioapic.select = state.ioregsel & 0xff
  ioapic.id = state.id
  state.redirtbl.forEach((entry, pin) => {
    ioapic.lo[pin] = Number(entry & 0xffffffffn)
    ioapic.hi[pin] = Number(entry >> 32n)
  })
  ioapic.irr = state.irr
  ioapic.resume()
  return 0
}
