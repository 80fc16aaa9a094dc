import { EAGAIN, EBADF, EBUSY, EINVAL } from '../../linux/errno.ts'
import { EventFd } from '../../linux/fs/eventfd.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_irqfd } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import type { Vm } from '../vm.ts'
import { KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQCHIP_IOAPIC, setGsi } from './routing.ts'

export const KVM_IRQFD_FLAG_DEASSIGN = 1
export const KVM_IRQFD_FLAG_RESAMPLE = 2

/** An eventfd bound to a GSI. KAPI-68. */
export class IrqFd {
  private readonly vm: Vm
  readonly event: EventFd
  readonly gsi: number
  private readonly resample: EventFd | null
  private readonly fire = (): void => this.check()

  constructor(vm: Vm, event: EventFd, gsi: number, resample: EventFd | null) {
    this.vm = vm
    this.event = event
    this.gsi = gsi
    this.resample = resample
    event.retain()
    resample?.retain()
    event.changed.addCallback(this.fire)
    this.check()
  }

  /** The counter is not 0: raises the line, and lowers it again unless the guest's EOI must come first. */
  private check(): void {
    if (this.event.take() === 0n) return
    setGsi(this.vm, this.gsi, true)
    if (this.resample === null) setGsi(this.vm, this.gsi, false)
  }

  /** The guest finished the interrupt of a pin: if it is ours, lower the line and tell the resampler. */
  acknowledged(chip: 'pic' | 'ioapic', pin: number): void {
    if (this.resample === null) return
    const mine = this.vm.routing.some(
      (e) =>
        e.gsi === this.gsi &&
        e.type === KVM_IRQ_ROUTING_IRQCHIP &&
        (e.u0 === KVM_IRQCHIP_IOAPIC ? chip === 'ioapic' && e.u1 === pin : chip === 'pic' && e.u0 * 8 + e.u1 === pin),
    )
    if (!mine) return
    setGsi(this.vm, this.gsi, false)
    this.resample.signal(1n)
  }

  detach(): void {
    this.event.changed.removeCallback(this.fire)
    this.event.put(null)
    this.resample?.put(null)
  }
}

/** KVM_IRQFD. */
export function setIrqfd(vm: Vm, request: ValueOf<typeof kvm_irqfd>, call: IoctlCall): number {
  if (request.flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE)) return call.refuse(EINVAL, 'KAPI-68', 'unknown flags')
  const event = eventOf(request.fd, call)
  if (typeof event === 'number') return event
  if (request.flags & KVM_IRQFD_FLAG_DEASSIGN) {
    for (let i = vm.irqfds.length - 1; i >= 0; i--) {
      if (vm.irqfds[i].event !== event || vm.irqfds[i].gsi !== request.gsi) continue
      vm.irqfds[i].detach()
      vm.irqfds.splice(i, 1)
    }
    return 0
  }
  if (vm.irqchipMode === 'none') return call.refuse(EAGAIN, 'KAPI-68', 'no in-kernel irqchip')
  let resample: EventFd | null = null
  if (request.flags & KVM_IRQFD_FLAG_RESAMPLE) {
    const found = eventOf(request.resamplefd, call)
    if (typeof found === 'number') return found
    resample = found
  }
  if (vm.irqfds.some((i) => i.event === event)) return call.refuse(EBUSY, 'KAPI-68', 'the eventfd is bound already')
  vm.irqfds.push(new IrqFd(vm, event, request.gsi, resample))
  return 0
}

/** The eventfd behind a descriptor, or a negative errno. */
export function eventOf(fd: number, call: IoctlCall): EventFd | number {
  const file = call.task.files.get(fd)
  if (file === null) return call.refuse(EBADF, 'KAPI-68', `descriptor ${fd} is not open`)
  return file instanceof EventFd ? file : call.refuse(EINVAL, 'KAPI-68', `descriptor ${fd} is not an eventfd`)
}
